// Attention by subgroups, head size 64.
const SIZE4: u32 = 16u;
#import attention_subgroup
