// Attention in workgroup memory, head size 32.
const QUARTERS: u32 = 8u;
#import attention_tile
