// Attention by subgroups, with qkv and dy in buffers; see src/op/attention.rs.
#shader attention_subgroup_16 quarters=4
#shader attention_subgroup_32 quarters=8
#shader attention_subgroup_64 quarters=16
const SIZE4: u32 = $quarters;
// Queries of a lane.
const PER_LANE: u32 = 2u;
#import attention_buffers
