//! [`perhaps`]: which word was meant.

/// `; perhaps "minute"`, if one of these words is close to what was written.
pub(crate) fn perhaps<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    /// No word here is longer than this and a slip or two.
    const LEN_MAX: usize = 16;
    let text = text.to_ascii_lowercase();
    if text.len() > LEN_MAX {
        return String::new();
    }
    let near = words.into_iter().map(|word| (distance(&text, word), word)).min();
    match near {
        Some((slips, word)) if slips <= word.len() / 3 => format!("; perhaps \"{word}\""),
        _ => String::new(),
    }
}

/// How many letters must be added, left out or replaced, or neighbours exchanged, to make one word of another (optimal
/// string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
