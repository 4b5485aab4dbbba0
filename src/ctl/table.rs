//! Tables for people: columns as wide as their widest cell.

use std::fmt::Write as _;

/// Rows of cells under a heading.
pub struct Table {
    heading: Vec<&'static str>,
    /// Columns of numbers, which stand to the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns by name; a name that begins with `>` is one of numbers.
    pub fn new(columns: &[&'static str]) -> Self {
        Self {
            heading: columns.iter().map(|name| name.trim_start_matches('>')).collect(),
            right: columns.iter().map(|name| name.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// The table; empty without rows.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.rows.is_empty() {
            return text;
        }
        let heading = self.heading.iter().map(|name| (*name).to_owned()).collect();
        let lines: Vec<&Vec<String>> = [&heading].into_iter().chain(&self.rows).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heading.len()).map(width).collect();
        for line in lines {
            let mut written = String::new();
            for ((cell, width), right) in line.iter().zip(&widths).zip(&self.right) {
                let _ = if *right { write!(written, "{cell:>width$}  ") } else { write!(written, "{cell:<width$}  ") };
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text from a stranger for a terminal: nothing in it can steer it, or be taken for another line.
pub fn printable(text: &str) -> String {
    crate::telemetry::escape::Escaped(text.as_bytes()).to_string()
}

/// A duration in its two largest units: `3d 4h`, `12m 5s`, `0.4s`.
pub fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds as u64;
    match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

/// Bytes in the unit that leaves up to four digits: `812 B`, `1.2 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", ">COUNT", "NOTE"]);
        assert_eq!(table.text(), "");
        table.row(&["a".into(), "12345678".into(), String::new()]);
        table.row(&["dubai-1".into(), "7".into(), "x".into()]);
        assert_eq!(table.text(), "NAME        COUNT  NOTE\na        12345678\ndubai-1         7  x\n");
    }

    #[test]
    fn a_cell_stays_a_cell_whatever_is_in_it() {
        let mut table = Table::new(&["NAME"]);
        table.row(&["a\n\u{1b}[31mb".into()]);
        assert_eq!(table.text().lines().count(), 2);
        assert!(!table.text().contains('\u{1b}'));
    }

    #[test]
    fn sizes_have_the_largest_unit_below_them() {
        let texts = [0, 1023, 1024, 1_300_000, 5 << 40].map(size);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.2 MiB", "5.0 TiB"]);
    }

    #[test]
    fn durations_have_two_units() {
        let texts = [0.42, 59.9, 61.0, 7260.0, 266_400.0].map(duration);
        assert_eq!(texts, ["0.4s", "59s", "1m 1s", "2h 1m", "3d 2h"]);
    }
}
