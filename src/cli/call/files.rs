//! Images, sounds and other bytes of a result, as files that overwrite nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files of one name that are tried: `shot.png`, `shot-2.png` …
const TRIES: usize = 1000;

/// Where a result's files go.
#[derive(Debug)]
pub(in crate::cli) struct Files {
    folder: PathBuf,
    /// The beginning of their names.
    stem: String,
}

impl Files {
    /// They go into `folder`, or else into the directory that the command runs in, under the name of the tool.
    pub(super) fn new(folder: Option<PathBuf>, tool: &str) -> Self {
        let safe = |c: char| match c.is_ascii_alphanumeric() || "_-".contains(c) {
            true => c,
            false => '_',
        };
        Self {
            folder: folder.unwrap_or_default(),
            stem: tool.chars().take(64).map(safe).collect(),
        }
    }

    /// Saves what `data` (base64) stands for, and says where; or what is wrong with it.
    pub(super) fn describe(&self, kind: &str, mime_type: &str, data: &str) -> String {
        let Some(bytes) = decoded(data) else {
            return format!("[{kind}: {mime_type}, no base64]");
        };
        let size = bytes.len();
        match self.save(mime_type, &bytes) {
            Ok(path) => format!(
                "[{kind}: {mime_type}, {size} bytes, saved as {}]",
                path.display()
            ),
            Err(error) => format!("[{kind}: {mime_type}, {size} bytes, not saved: {error}]"),
        }
    }

    fn save(&self, mime_type: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let extension = extension(mime_type);
        for number in 1..=TRIES {
            let name = match number {
                1 => format!("{}.{extension}", self.stem),
                number => format!("{}-{number}.{extension}", self.stem),
            };
            let path = match self.folder == Path::new("") {
                true => PathBuf::from(name),
                false => self.folder.join(name),
            };
            match File::create_new(&path) {
                Ok(mut file) => return file.write_all(bytes).map(|()| path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

fn extension(mime_type: &str) -> String {
    let kind = mime_type.split(';').next().unwrap_or_default().trim();
    let known = match kind {
        "image/jpeg" => "jpg",
        "image/svg+xml" => "svg",
        "audio/mpeg" => "mp3",
        "audio/wav" | "audio/x-wav" => "wav",
        "text/plain" => "txt",
        _ => {
            let sub = kind.split_once('/').map_or("", |(_, sub)| sub);
            let plain = (1..=5).contains(&sub.len());
            return match plain && sub.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                true => sub.to_ascii_lowercase(),
                false => "bin".to_owned(),
            };
        }
    };
    known.to_owned()
}

/// Base64 of either alphabet (RFC 4648), with or without padding and line ends.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let mut padding = 0;
    for digit in digits {
        let value = match digit {
            b'=' => {
                padding += 1;
                continue;
            }
            _ if padding > 0 => return None,
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).expect("it is one byte"));
        }
    }
    // Six bits that are left make no byte.
    (held < 6 && padding <= 2).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("Zg==", Some(b"f")),
            ("Zm8", Some(b"fo")),
            ("Zm9v\nYmFy", Some(b"foobar")),
            ("-_8=", Some(&[0xfb, 0xff])),
            ("Zg==Zg", None),
            ("Z", None),
            ("Z!==", None),
        ] {
            assert_eq!(decoded(text).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn files_end_as_their_kind() {
        for (kind, end) in [
            ("image/png", "png"),
            ("image/jpeg; q=1", "jpg"),
            ("application/x-../../etc", "bin"),
            ("?", "bin"),
        ] {
            assert_eq!(extension(kind), end);
        }
        assert_eq!(Files::new(None, "../a b").stem, "___a_b");
    }
}
