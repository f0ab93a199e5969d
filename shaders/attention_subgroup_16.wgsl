// Attention by subgroups, head size 16.
const SIZE4: u32 = 4u;
#import attention_subgroup
