// Attention by subgroups, head size 32.
const SIZE4: u32 = 8u;
#import attention_subgroup
