// Attention in workgroup memory, head size 16.
const QUARTERS: u32 = 4u;
#import attention_tile
