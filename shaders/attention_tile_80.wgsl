// Attention in workgroup memory, head size 80.
const QUARTERS: u32 = 20u;
#import attention_tile
