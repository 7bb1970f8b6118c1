//! The last minutes as a picture: what was denied, on top of what was allowed. Inline SVG, so that nothing is loaded.

use std::fmt::Write as _;
use std::time::Duration;

use super::history::{REACH, Span};
use super::html;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
/// Room for the numbers at the left, and for the times below.
const LEFT: f64 = 48.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 20.0;

/// Draws spans, the oldest first. `summary` says the same in words, as HTML.
pub(super) fn svg(spans: &[Span], summary: &str) -> String {
    let top = nice(spans.iter().map(|span| span.rate.allowed + span.rate.denied).fold(0.0, f64::max));
    let x = |ago: Duration| LEFT + WIDTH * (1.0 - ago.as_secs_f64() / REACH.as_secs_f64());
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
    let allowed: Vec<_> = spans.iter().map(|span| Bar::new(span, x, y(span.rate.allowed), bottom)).collect();
    area(&mut svg, "class=\"allowed\"", &allowed);
    if spans.iter().any(|span| span.rate.denied > 0.0) {
        let all = |span: &Span| y(span.rate.allowed + span.rate.denied);
        let denied: Vec<_> = spans.iter().map(|span| Bar::new(span, x, all(span), y(span.rate.allowed))).collect();
        area(&mut svg, "fill=\"url(#hatch)\"", &denied);
    }
    svg.push_str("</svg>");
    svg
}

/// The part of a picture that is about one span.
struct Bar {
    left: f64,
    right: f64,
    above: f64,
    below: f64,
}

impl Bar {
    fn new(span: &Span, x: impl Fn(Duration) -> f64, above: f64, below: f64) -> Self {
        Self { left: x(span.began.min(REACH)), right: x(span.ended), above, below }
    }
}

/// Bars that stand side by side, as one shape.
fn area(svg: &mut String, look: &str, bars: &[Bar]) {
    let Some(first) = bars.first() else { return };
    let _ = write!(svg, "<path {look} d=\"M{:.1} {:.1}", first.left, first.below);
    for bar in bars {
        let _ = write!(svg, "V{:.1}H{:.1}", bar.above, bar.right);
    }
    for bar in bars.iter().rev() {
        let _ = write!(svg, "V{:.1}H{:.1}", bar.below, bar.left);
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
    use crate::admin::history::Rate;

    #[test]
    fn the_scale_has_round_numbers() {
        let tops = [0.0, 1.0, 1.1, 2.1, 5.1, 10.0, 412.0, 1930.0, 70_000.0].map(nice);
        assert_eq!(tops, [1.0, 1.0, 2.0, 5.0, 10.0, 10.0, 500.0, 2000.0, 100_000.0]);
    }

    #[test]
    fn a_picture_is_within_its_frame_and_small() {
        let every = REACH / 180;
        let rate = |index: u32| Rate { allowed: 1000.0 + f64::from(index), denied: f64::from(index % 7) * 100.0 };
        let span = |index: u32| Span { began: every * (index + 1), ended: every * index, rate: rate(index) };
        let spans: Vec<_> = (0..181).rev().map(span).collect();
        let svg = svg(&spans, "words");
        assert!(svg.len() < 20_000, "{}", svg.len());
        let mut bars = 0;
        for path in
            svg.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()).filter(|path| path.ends_with('Z'))
        {
            let numbers = |letter: char| -> Vec<f64> {
                let rest = path.trim_end_matches('Z').split(letter).skip(1);
                rest.map(|rest| rest.split(['V', 'H']).next().unwrap().parse().unwrap()).collect()
            };
            let (across, up) = (numbers('H'), numbers('V'));
            assert!(across.iter().all(|x| (LEFT..=LEFT + WIDTH).contains(x)), "{across:?}");
            assert!(up.iter().all(|y| (ABOVE..=ABOVE + HEIGHT).contains(y)), "{up:?}");
            bars += across.len();
        }
        assert_eq!(bars, 2 * 2 * 181);
        // Nothing to draw yet.
        assert!(!super::svg(&[], "words").contains("class=\"allowed\""));
    }
}
