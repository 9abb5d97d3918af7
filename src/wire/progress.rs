//! Progress of a digest that a client waits for; sent with `102`, as `done=5, size=9, ahead=1`.

use std::fmt;
use std::str::FromStr;

/// Progress of a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestProgress {
    /// Bytes hashed.
    pub done: u64,
    /// Bytes to be hashed in total.
    pub size: u64,
    /// Digests queued before it.
    pub ahead: u32,
}

impl fmt::Display for DigestProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "done={}, size={}, ahead={}", self.done, self.size, self.ahead)
    }
}

impl FromStr for DigestProgress {
    type Err = ();

    /// Parses the three numbers in any order and ignores unknown keys.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (mut done, mut size, mut ahead) = (None, None, None);
        for (key, value) in text.split(',').filter_map(|part| part.trim().split_once('=')) {
            let number = || value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
            match key {
                "done" => done = number(),
                "size" => size = number(),
                "ahead" => ahead = number(),
                _ => {}
            }
        }
        let (done, size) = (done.ok_or(())?, size.ok_or(())?);
        let ahead = ahead.and_then(|ahead| u32::try_from(ahead).ok()).ok_or(())?;
        if done > size { Err(()) } else { Ok(Self { done, size, ahead }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_round_trips_and_invalid_text_is_rejected() {
        let progress = DigestProgress { done: 5, size: u64::MAX, ahead: 2 };
        assert_eq!(progress.to_string().parse(), Ok(progress));
        assert_eq!("ahead=2,later=x, size=18446744073709551615,done=5".parse(), Ok(progress));
        for wrong in [
            "",
            "done=1, size=2",
            "done=3, size=2, ahead=0",
            "done=+1, size=2, ahead=0",
            "done=1, size=2, ahead=4294967296",
        ] {
            assert_eq!(wrong.parse::<DigestProgress>(), Err(()), "{wrong}");
        }
    }
}
