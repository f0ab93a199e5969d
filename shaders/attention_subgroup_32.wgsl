// Attention by subgroups, buffers, head size 32.
const SIZE4: u32 = 8u;
// Queries of a lane.
const PER_LANE: u32 = 2u;
#import attention_buffers
