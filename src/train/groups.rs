//! Which parameters the optimiser treats alike.

/// Whether weight decay applies: not to parameters of one dimension, nor to biases. MVD's mask tokens do decay.
pub fn decays(name: &str, shape: &[usize]) -> bool {
    let bias = name.rsplit('.').next().is_some_and(|last| last == "bias" || last.ends_with("_bias"));
    shape.len() > 1 && !bias
}

#[cfg(test)]
mod tests {
    use super::decays;

    #[test]
    fn vectors_and_biases_do_not_decay() {
        assert!(!decays("blocks.0.norm1.weight", &[48]));
        assert!(!decays("blocks.0.attn.q_bias", &[48]));
        assert!(!decays("head.bias", &[64]));
        assert!(decays("mask_token_img", &[1, 1, 32]));
        assert!(decays("patch_embed.proj.weight", &[48, 3, 2, 8, 8]));
    }
}
