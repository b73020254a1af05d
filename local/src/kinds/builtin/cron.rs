//! Schedules in cron's five fields, and names of time zones.
//!
//! Pure: texts in, complaints out.
//! Source: github.com/robfig/cron/v3 `parser.go`, `ParseStandard`.

/// What is wrong with a schedule.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if let Some(word) = schedule.strip_prefix('@') {
        return match word {
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => {
                Ok(())
            }
            _ => match word.strip_prefix("every ") {
                Some(span) if go_duration(span) => Ok(()),
                Some(span) => Err(format!(
                    "failed to parse duration @{word}: time: invalid duration \"{span}\""
                )),
                None => Err(format!("unrecognized descriptor: {schedule}")),
            },
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    let bounds: [(u32, u32, &[&str]); 5] = [
        (0, 59, &[]),
        (0, 23, &[]),
        (1, 31, &[]),
        (
            1,
            12,
            &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        ),
        (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ];
    for (field, (least, most, names)) in fields.iter().zip(bounds) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            range(part, least, most, names)?;
        }
    }
    Ok(())
}

fn range(text: &str, least: u32, most: u32, names: &[&str]) -> Result<(), String> {
    let mut steps = text.split('/');
    let span = steps.next().unwrap_or("");
    let step = steps.next();
    if steps.next().is_some() {
        return Err(format!("too many slashes: {text}"));
    }
    let mut ends = span.split('-');
    let first = ends.next().unwrap_or("");
    let last = ends.next();
    if ends.next().is_some() {
        return Err(format!("too many hyphens: {text}"));
    }
    let (start, mut end) = if first == "*" || first == "?" {
        (least, most)
    } else {
        let start = number(first, least, names)?;
        (start, last.map_or(Ok(start), |last| number(last, least, names))?)
    };
    if let Some(step) = step {
        let size = plain(step)?;
        if last.is_none() {
            end = most;
        }
        if size == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
    }
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    Ok(())
}

fn number(text: &str, least: u32, names: &[&str]) -> Result<u32, String> {
    if let Some(at) = names.iter().position(|name| *name == text.to_lowercase()) {
        return Ok(at as u32 + least);
    }
    plain(text)
}

fn plain(text: &str) -> Result<u32, String> {
    if let Some(rest) = text.strip_prefix('-')
        && rest.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(format!("negative number ({text}) not allowed: {text}"));
    }
    text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax")
    })
}

/// Whether Go would take the text as a duration.
pub(super) fn go_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if digits == 0 {
            return false;
        }
        rest = &rest[digits..];
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let Some(unit) = units
            .into_iter()
            .find(|unit| rest.starts_with(unit) && (*unit != "m" || !rest.starts_with("ms")))
        else {
            return false;
        };
        rest = &rest[unit.len()..];
    }
    !text.is_empty()
}

/// Whether the text names a time zone, as far as its form tells: an area of the tz database and a place in it.
pub(super) fn is_zone(zone: &str) -> bool {
    const AREAS: &[&str] = &[
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Brazil",
        "Canada",
        "Chile",
        "Etc",
        "Europe",
        "Indian",
        "Mexico",
        "Pacific",
        "US",
    ];
    const ALONE: &[&str] = &[
        "CET",
        "CST6CDT",
        "Cuba",
        "EET",
        "EST",
        "EST5EDT",
        "Egypt",
        "Eire",
        "GB",
        "GMT",
        "HST",
        "Hongkong",
        "Iceland",
        "Iran",
        "Israel",
        "Jamaica",
        "Japan",
        "Libya",
        "MET",
        "MST",
        "MST7MDT",
        "NZ",
        "PRC",
        "PST8PDT",
        "Poland",
        "Portugal",
        "ROC",
        "ROK",
        "Singapore",
        "Turkey",
        "UCT",
        "UTC",
        "Universal",
        "WET",
        "Zulu",
    ];
    match zone.split_once('/') {
        None => ALONE.contains(&zone),
        Some((area, place)) => {
            let formed = place
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+' | b'/'));
            AREAS.contains(&area) && !place.is_empty() && formed
        }
    }
}
