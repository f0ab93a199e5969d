// Attention by quads, head size 80.
const PARTS: u32 = 5u;
#import attention_quad
