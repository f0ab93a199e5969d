// Attention by subgroups, with qkv and dy in textures; see src/op/attention.rs.
#shader attention_image_16 quarters=4
#shader attention_image_32 quarters=8
#shader attention_image_64 quarters=16
const SIZE4: u32 = $quarters;
// Queries of a lane.
const PER_LANE: u32 = 2u;
#import attention_images
