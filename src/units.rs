//! Formatting and parsing of sizes, rates and times; every form has a maximum width, so that columns do not move.

use std::fmt;
use std::time::Duration;

use serde::Serializer;

/// A number of bytes, at most eight characters wide: `999 B`, `9.8 KB`, `916.6 KB`, `1.31 GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Bytes per second, at most ten characters wide: `916.6 KB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// A count of things, at most six characters wide: `9999`, `12.3K`, `1.31G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A count of things in full, with separators between thousands: `1,204`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grouped(pub u64);

/// Time left, at most six characters wide: `0:35`, `12:03`, `3h05`, `9d`; `-` if unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eta(pub Option<Duration>);

/// A measured time: `0.31 ms`, `12 ms`, `1.2 s`, `2 min 5 s`, `3 h 5 min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// Serializes a time in ms, rounded to µs: further digits are rounding noise.
///
/// # Errors
/// The error of the serializer.
pub fn whole_us<S: Serializer>(ms: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((ms * 1000.0).round() / 1000.0)
}

/// Serializes a share, rounded to a hundredth of a percent.
///
/// # Errors
/// The error of the serializer.
pub fn share<S: Serializer>(share: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((share * 10_000.0).round() / 10_000.0)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match scaled(self.0) {
            Some((number, prefix)) => f.pad(&format!("{number} {prefix}B")),
            None => f.pad(&format!("{} B", self.0)),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match scaled(self.0) {
            Some((number, prefix)) if self.0 >= 10_000 => f.pad(&format!("{number}{prefix}")),
            _ => f.pad(&self.0.to_string()),
        }
    }
}

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// Returns the digits and the decimal prefix of a number of at least a thousand.
fn scaled(number: u64) -> Option<(String, char)> {
    const PREFIXES: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if number < 1000 {
        return None;
    }
    let (mut value, mut prefix) = (number as f64 / 1000.0, 0);
    // The next prefix starts where rounding would show 1000.
    while value >= 999.95 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    // Three digits from giga up, where a tenth is a hundred megabytes.
    let digits = if prefix >= 2 && value < 9.995 { format!("{value:.2}") } else { format!("{value:.1}") };
    Some((digits, PREFIXES[prefix]))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/s", Bytes(self.0)))
    }
}

impl fmt::Display for Eta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(left) = self.0 else { return f.pad("-") };
        let seconds = left.as_secs_f64().ceil() as u64;
        let text = match seconds {
            0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
            3600..360_000 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
            _ => format!("{}d", (seconds / 86_400).min(99_999)),
        };
        f.pad(&text)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_secs_f64() * 1000.0;
        let text = if ms < 9.995 {
            format!("{ms:.2} ms")
        } else if ms < 999.5 {
            format!("{ms:.0} ms")
        } else if ms < 59_950.0 {
            format!("{:.1} s", ms / 1000.0)
        } else {
            // Rounded before the unit is chosen, so that no 60 s appear.
            match (ms / 1000.0).round() as u64 {
                seconds @ 0..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
                seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
            }
        };
        f.pad(&text)
    }
}

/// Formats a rate limit in few columns: `6 MB/s`, `2.5 MB/s`, `400 KB/s`.
pub fn short_rate(rate: u64) -> String {
    Rate(rate).to_string().replace(".0", "")
}

/// Parses a size or a rate in bytes: `500`, `400K`, `2.5M`, `100MB/s`, `1MiB`.
///
/// # Errors
/// A sentence that repeats the text if it is not a number, has an unknown unit, or is less than a byte or more than 64
/// bits hold.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let plain = text.trim().trim_end_matches("/s");
    let digits = plain.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(plain.len());
    let (number, unit) = plain.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(format!("{unit:?} is not a unit of bytes: write 400K, 2.5M, 1G or 1MiB")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("{text:?} is not a number of bytes: write 400K, 2.5M, 1G or 1MiB"))?;
    let bytes = number * factor as f64;
    if bytes < 1.0 || bytes > u64::MAX as f64 {
        return Err(format!("{text:?} is out of range: at least 1 byte"));
    }
    Ok(bytes as u64)
}

/// Parses a time: `250ms`, `5s`, `1.5s`, `10m`, `1h`; a unit is required, and 0 is rejected.
///
/// # Errors
/// A sentence that repeats the text if it has no known unit, or is not more than 0 and at most 24 h.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write 250ms, 5s, 10m or 1h");
    let plain = text.trim();
    let digits = plain.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = plain.split_at(digits);
    let factor = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * factor;
    // A day is longer than any timeout of this program; more is a mistake, and 0 would mean "never wait".
    if seconds <= 0.0 || seconds > 86_400.0 {
        return Err(format!("{text:?} is out of range: more than 0, at most 24h"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_formatted() {
        let shown: Vec<String> = [0, 999, 1000, 9_840, 41_200_000, 999_949, 999_950, 1_310_000_000, 12_340_000_000]
            .map(|n| Bytes(n).to_string())
            .to_vec();
        assert_eq!(shown, ["0 B", "999 B", "1.0 KB", "9.8 KB", "41.2 MB", "999.9 KB", "1.0 MB", "1.31 GB", "12.3 GB"]);
        assert_eq!(format!("{:>10}", Rate(41_200_000)), " 41.2 MB/s");
        assert_eq!([6_000_000, 2_500_000, 400_000].map(short_rate), ["6 MB/s", "2.5 MB/s", "400 KB/s"]);
        assert_eq!(
            [0, 999, 1_000, 12_345, 1_234_567].map(|n| Grouped(n).to_string()),
            ["0", "999", "1,000", "12,345", "1,234,567"]
        );
        assert_eq!([0, 9_999, 10_000, 123_456].map(|n| Count(n).to_string()), ["0", "9999", "10.0K", "123.5K"]);
    }

    #[test]
    fn times_are_formatted() {
        let eta = |s| Eta(Some(Duration::from_secs_f64(s))).to_string();
        assert_eq!([eta(0.2), eta(35.0), eta(723.0), eta(11_100.0)], ["0:01", "0:35", "12:03", "3h05"]);
        assert_eq!(Eta(None).to_string(), "-");
        assert_eq!(HumanDuration(Duration::from_micros(310)).to_string(), "0.31 ms");
        assert_eq!(HumanDuration(Duration::from_millis(1200)).to_string(), "1.2 s");
        assert_eq!(HumanDuration(Duration::from_secs(125)).to_string(), "2 min 5 s");
        let time = |ms| HumanDuration(Duration::from_millis(ms)).to_string();
        assert_eq!([time(59_949), time(59_960), time(3_599_400)], ["59.9 s", "1 min 0 s", "59 min 59 s"]);
        assert_eq!([time(3_599_600), time(11_130_000)], ["1 h 0 min", "3 h 5 min"]);
    }

    #[test]
    fn sizes_and_times_are_parsed() {
        assert_eq!(parse_bytes("400K"), Ok(400_000));
        assert_eq!(parse_bytes("2.5MB/s"), Ok(2_500_000));
        assert_eq!(parse_bytes("1MiB"), Ok(1 << 20));
        assert!(parse_bytes("0").is_err() && parse_bytes("fast").is_err() && parse_bytes("3 parsecs").is_err());
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("10m"), Ok(Duration::from_mins(10)));
        assert!(parse_time("0s").is_err() && parse_time("5").is_err() && parse_time("-1s").is_err());
    }

    proptest! {
        #[test]
        fn sizes_and_counts_have_a_maximum_width(n in any::<u64>()) {
            prop_assert!(Bytes(n).to_string().len() <= 8 && Count(n).to_string().len() <= 6);
        }
    }
}
