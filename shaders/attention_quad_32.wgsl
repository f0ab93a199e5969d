// Attention by quads, head size 32.
const PARTS: u32 = 2u;
#import attention_quad
