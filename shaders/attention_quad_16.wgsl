// Attention by quads, head size 16.
const PARTS: u32 = 1u;
#import attention_quad
