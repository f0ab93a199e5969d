// Attention in workgroup memory, head size 64.
const QUARTERS: u32 = 16u;
#import attention_tile
