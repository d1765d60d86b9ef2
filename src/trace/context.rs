//! A `traceparent`, read and written (W3C Trace Context § traceparent Header).

use std::fmt;

/// The flag that says that somebody records the trace.
const SAMPLED: u8 = 0b01;
/// The flag that says that the trace's id is random (W3C Trace Context Level 2 § Random Trace ID Flag); it is passed on.
const RANDOM: u8 = 0b10;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it.
    pub span: [u8; 8],
    flags: u8,
}

impl Context {
    /// A span of `trace`, below `parent` if there is one.
    pub(super) fn new(
        trace: [u8; 16],
        span: [u8; 8],
        parent: Option<&Context>,
        sampled: bool,
    ) -> Context {
        let kept = parent.map_or(0, |parent| parent.flags & RANDOM);
        Context {
            trace,
            span,
            flags: if sampled { kept | SAMPLED } else { kept },
        }
    }

    /// Reads a header's value; of later versions what they share with this one. `None` when it is invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Context> {
        let bytes = text.as_bytes();
        let version: [u8; 1] = hexadecimal(bytes.get(..2)?)?;
        match (version[0], bytes.get(55)) {
            (0xff, _) => return None,
            (_, None) => {}
            (0, Some(_)) => return None,
            (_, Some(&next)) if next != b'-' => return None,
            _ => {}
        }
        if [2, 35, 52].iter().any(|&at| bytes.get(at) != Some(&b'-')) {
            return None;
        }
        let context = Context {
            trace: hexadecimal(bytes.get(3..35)?)?,
            span: hexadecimal(bytes.get(36..52)?)?,
            flags: hexadecimal::<1>(bytes.get(53..55)?)?[0],
        };
        (context.trace != [0; 16] && context.span != [0; 8]).then_some(context)
    }

    /// Whether somebody records it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags, as they stand in the header.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

/// Lower case only, as the specification has it.
fn hexadecimal<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_the_specification_has_it() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        const SPAN: &str = "b7ad6b7169203331";
        for (text, valid) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), true),
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), true),
            (format!("cc-{TRACE}-{SPAN}-01."), false),
            (format!("00-{TRACE}-{SPAN}-01-x"), false),
            (format!("ff-{TRACE}-{SPAN}-01"), false),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), false),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), false),
            (format!("00_{TRACE}-{SPAN}-01"), false),
            (format!("00-{TRACE}-{SPAN}-0g"), false),
            (format!("00-{TRACE}-{SPAN}"), false),
            (format!(" 00-{TRACE}-{SPAN}-01"), false),
            ("00-1-2-01".to_owned(), false),
            (String::new(), false),
            ("é".repeat(40), false),
        ] {
            let context = Context::parse(&text);
            assert_eq!(context.is_some(), valid, "{text}");
            if let Some(context) = context {
                assert_eq!(context.to_string()[2..55], text[2..55], "{text}");
            }
        }
    }

    #[test]
    fn a_span_below_another_keeps_what_is_known_of_the_trace_id() {
        let parent = Context::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
        for (sampled, flags) in [(true, "03"), (false, "02")] {
            let below = Context::new([1; 16], [2; 8], parent.as_ref(), sampled);
            assert!(below.to_string().ends_with(flags), "{below}");
        }
        assert_eq!(
            Context::new([1; 16], [2; 8], None, true).to_string(),
            "00-01010101010101010101010101010101-0202020202020202-01"
        );
    }
}
