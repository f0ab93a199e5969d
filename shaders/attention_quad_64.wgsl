// Attention by quads, head size 64.
const PARTS: u32 = 4u;
#import attention_quad
