// Attention by subgroups, textures, head size 64.
const SIZE4: u32 = 16u;
// Queries of a lane.
const PER_LANE: u32 = 2u;
#import attention_images
