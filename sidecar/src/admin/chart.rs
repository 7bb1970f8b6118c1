//! The last minutes as a picture: what was denied, on top of what was allowed. Inline SVG, so that nothing is loaded.

use std::fmt::Write as _;
use std::time::Duration;

use super::history::{Rate, SPAN};
use super::html;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;
/// Room for the numbers at the left, and for the times below.
const LEFT: f64 = 48.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 10.0;

/// Draws rates, each with how long ago its span ended, the oldest first. `summary` says the same in words, as HTML.
pub(super) fn svg(rates: &[(Duration, Rate)], summary: &str) -> String {
    let top = nice(rates.iter().map(|(_, rate)| rate.allowed + rate.denied).fold(0.0, f64::max));
    let x = |ago: Duration| LEFT + WIDTH * (1.0 - ago.as_secs_f64() / SPAN.as_secs_f64());
    let y = |rate: f64| ABOVE + HEIGHT * (1.0 - rate / top);
    let (right, bottom) = (LEFT + WIDTH, y(0.0));
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"chart-title chart-text\">\
         <title id=\"chart-title\">Allowed and denied requests per second, the last 15 minutes</title>\
         <desc id=\"chart-text\">{summary}</desc>\
         <defs><pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect class=\"denied\" width=\"5\" height=\"5\"/><rect class=\"stroke\" width=\"1.5\" height=\"5\"/></pattern></defs>",
        right + 12.0,
        bottom + BELOW
    );
    for part in [0.0, 0.5, 1.0] {
        let (at, number) = (y(top * part), html::rate(top * part));
        let number = number.strip_suffix(".0").unwrap_or(&number);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
             <text class=\"number\" x=\"{:.0}\" y=\"{:.1}\">{number}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for minutes in [15_u64, 10, 5, 0] {
        let label = if minutes == 0 { "now".to_owned() } else { format!("{minutes} min ago") };
        let at = x(Duration::from_secs(minutes * 60));
        let class = match minutes {
            15 => "first",
            0 => "last",
            _ => "middle",
        };
        let _ = write!(svg, "<text class=\"{class}\" x=\"{at:.0}\" y=\"{:.0}\">{label}</text>", bottom + 17.0);
    }
    let allowed: Vec<_> = rates.iter().map(|(ago, rate)| (x(*ago), y(rate.allowed))).collect();
    let all: Vec<_> = rates.iter().map(|(ago, rate)| (x(*ago), y(rate.allowed + rate.denied))).collect();
    let ground: Vec<_> = rates.iter().map(|(ago, _)| (x(*ago), bottom)).collect();
    area(&mut svg, "class=\"allowed\"", &allowed, &ground);
    if rates.iter().any(|(_, rate)| rate.denied > 0.0) {
        area(&mut svg, "fill=\"url(#hatch)\"", &all, &allowed);
    }
    svg.push_str("</svg>");
    svg
}

/// What lies between two lines.
fn area(svg: &mut String, look: &str, above: &[(f64, f64)], below: &[(f64, f64)]) {
    if above.len() < 2 {
        return;
    }
    let _ = write!(svg, "<path {look} d=\"");
    for (index, (x, y)) in above.iter().chain(below.iter().rev()).enumerate() {
        let _ = write!(svg, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    }
    svg.push_str("Z\"/>");
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn nice(most: f64) -> f64 {
    let mut step = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle().take(60) {
        if step >= most {
            break;
        }
        step *= factor;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_round_numbers() {
        let tops = [0.0, 1.0, 1.1, 2.1, 5.1, 10.0, 412.0, 1930.0, 70_000.0].map(nice);
        assert_eq!(tops, [1.0, 1.0, 2.0, 5.0, 10.0, 10.0, 500.0, 2000.0, 100_000.0]);
    }

    #[test]
    fn a_picture_is_within_its_frame_and_small() {
        let every = SPAN.as_secs() / 180;
        let rate = |index: u64| Rate { allowed: 1000.0 + index as f64, denied: (index % 7) as f64 * 100.0 };
        let rates: Vec<_> = (0..180).rev().map(|index| (Duration::from_secs(index * every), rate(index))).collect();
        let svg = svg(&rates, "words");
        assert!(svg.len() < 16_000, "{}", svg.len());
        for path in svg.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            for point in
                path.trim_end_matches('Z').split(['M', 'L']).filter(|point| point.contains(' ') && !point.contains('H'))
            {
                let (x, y) = point.split_once(' ').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(
                    (LEFT..=LEFT + WIDTH + 0.1).contains(&x) && (ABOVE..=ABOVE + HEIGHT + 0.1).contains(&y),
                    "{point}"
                );
            }
        }
        // Nothing to draw yet.
        assert!(!super::svg(&[], "words").contains("class=\"allowed\""));
    }
}
