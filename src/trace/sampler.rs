//! Which traces are recorded (OpenTelemetry, Tracing SDK § Built-in samplers).

use super::Context;

/// Decides for each request, by its trace alone, so that all that belongs together is recorded together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// For those that continue nothing.
    pub root: Root,
    /// Those that continue something are recorded if that is.
    pub follows_parent: bool,
}

/// Which of those that begin a trace are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Root {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This part of them, from 0 to 1.
    Ratio(f64),
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            root: Root::AlwaysOn,
            follows_parent: true,
        }
    }
}

impl Sampler {
    pub(super) fn samples(&self, trace: &[u8; 16], parent: Option<&Context>) -> bool {
        if let (true, Some(parent)) = (self.follows_parent, parent) {
            return parent.is_sampled();
        }
        match self.root {
            Root::AlwaysOn => true,
            Root::AlwaysOff => false,
            Root::Ratio(ratio) => {
                let low: [u8; 8] = trace[8..].try_into().expect("the half of 16 bytes is 8");
                // 53 bits are what a float holds without rounding, so that a ratio of 1 is all of them.
                let point = u64::from_be_bytes(low) >> 11;
                #[expect(clippy::cast_precision_loss, reason = "both have at most 53 bits")]
                let place = point as f64 / (1u64 << 53) as f64;
                place < ratio
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_decides_where_it_is_asked() {
        let parent = |flags| {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            Context::parse(&text)
        };
        for (root, follows_parent, parent, want) in [
            (Root::AlwaysOff, true, parent("01"), true),
            (Root::AlwaysOn, true, parent("00"), false),
            (Root::AlwaysOn, true, None, true),
            (Root::AlwaysOff, true, None, false),
            (Root::AlwaysOff, false, parent("01"), false),
            (Root::AlwaysOn, false, parent("00"), true),
            (Root::Ratio(1.0), false, parent("00"), true),
            (Root::Ratio(0.0), false, None, false),
        ] {
            let sampler = Sampler {
                root,
                follows_parent,
            };
            let got = sampler.samples(&[0xff; 16], parent.as_ref());
            assert_eq!(got, want, "{sampler:?} {parent:?}");
        }
    }

    #[test]
    fn a_ratio_takes_its_part_by_the_end_of_the_trace_id() {
        let sampler = Sampler {
            root: Root::Ratio(0.25),
            follows_parent: true,
        };
        let sampled = |top: u8| {
            let mut trace = [0; 16];
            trace[8] = top;
            sampler.samples(&trace, None)
        };
        assert_eq!((0..=255).filter(|&top| sampled(top)).count(), 64);
        assert!(sampled(0x3f) && !sampled(0x40));
    }
}
