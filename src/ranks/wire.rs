//! The form in which gradients travel: f32 as they are, or rounded to 16 bits.

use half::{bf16, f16};

/// The form in which gradients travel between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Wire {
    /// As they are: the sum is that of one process, to the bit.
    #[default]
    F32,
    /// Rounded to f16, each message scaled by a power of two so that its largest value fits: half the traffic.
    F16,
    /// Rounded to bf16: half the traffic, f32's range, 8 bits of precision.
    Bf16,
}

/// Bytes of the scale before a message of f16.
const SCALE: usize = 4;

impl Wire {
    /// Bytes of a message of so many values.
    pub fn bytes(self, values: usize) -> usize {
        match self {
            Wire::F32 => 4 * values,
            Wire::F16 => SCALE + 2 * values,
            Wire::Bf16 => 2 * values,
        }
    }

    /// Appends values as they travel.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Wire::F32 => out.extend_from_slice(bytemuck::cast_slice(values)),
            Wire::Bf16 => out.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
            Wire::F16 => {
                let scale = scale(values);
                out.extend(scale.to_le_bytes());
                out.extend(values.iter().flat_map(|value| f16::from_f32(value * scale).to_le_bytes()));
            }
        }
    }

    /// Hands the values of a message to `take`, with their places.
    pub fn decode(self, message: &[u8], mut take: impl FnMut(usize, f32)) {
        match self {
            Wire::F32 => message.as_chunks().0.iter().enumerate().for_each(|(i, b)| take(i, f32::from_le_bytes(*b))),
            Wire::Bf16 => {
                message.as_chunks().0.iter().enumerate().for_each(|(i, b)| take(i, bf16::from_le_bytes(*b).to_f32()))
            }
            Wire::F16 => {
                let (scale, values) = message.split_at(SCALE.min(message.len()));
                let scale = 1.0 / scale.try_into().map_or(1.0, f32::from_le_bytes);
                let values = values.as_chunks().0.iter().enumerate();
                values.for_each(|(i, b)| take(i, f16::from_le_bytes(*b).to_f32() * scale))
            }
        }
    }
}

/// The power of two that brings the largest value to between 2^14 and 2^15; 1 where there is none that is finite and not 0.
fn scale(values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    // Within what f32 holds, and its inverse too.
    (14.0 - largest.log2().floor()).clamp(-126.0, 126.0).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travelled(wire: Wire, values: &[f32]) -> Vec<f32> {
        let (mut message, mut out) = (Vec::new(), vec![0.0; values.len()]);
        wire.encode(values, &mut message);
        assert_eq!(message.len(), wire.bytes(values.len()));
        wire.decode(&message, |i, value| out[i] = value);
        out
    }

    #[test]
    fn values_arrive_as_precisely_as_they_travel() {
        let values = [3e-9f32, -1.7e-8, 0.0, 2.5e-8, -9.1e-10];
        assert_eq!(travelled(Wire::F32, &values), values);
        for (wire, digits) in [(Wire::F16, 11), (Wire::Bf16, 8)] {
            for (sent, got) in values.iter().zip(travelled(wire, &values)) {
                assert!((sent - got).abs() <= sent.abs() * f32::exp2(-digits as f32), "{wire:?}: {sent} {got}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for wire in [Wire::F32, Wire::F16, Wire::Bf16] {
            let got = travelled(wire, &[1.0, f32::NAN, f32::INFINITY, 1e38]);
            assert!(got[1].is_nan() && got[2] == f32::INFINITY, "{wire:?}: {got:?}");
        }
        assert_eq!(travelled(Wire::F16, &[0.0, -0.0]), [0.0, 0.0]);
        assert!((travelled(Wire::F16, &[1e38])[0] / 1e38 - 1.0).abs() < 1e-3);
        assert_eq!(travelled(Wire::F16, &[1e-40]).len(), 1);
    }
}
