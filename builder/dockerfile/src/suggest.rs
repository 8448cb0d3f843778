//! Finding what a misspelt name was meant to be.

/// Largest number of edits between a misspelt name and its suggestion; with three, unrelated short words meet.
const MAX_EDITS: usize = 2;

/// The option nearest to `name`, ignoring case, when it is near enough to be meant. An option equal to `name` is not
/// a suggestion.
pub fn nearest<'a>(name: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer texts are no misspelt names, and the distance is quadratic.
    const LONGEST_NAME: usize = 128;
    if name.len() > LONGEST_NAME {
        return None;
    }
    let name = name.to_lowercase();
    options
        .into_iter()
        .filter(|option| option.len() <= LONGEST_NAME)
        .map(|option| (distance(&name, &option.to_lowercase()), option))
        .filter(|(edits, _)| (1..=MAX_EDITS).contains(edits))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, option)| option)
}

/// Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        if let Some(first) = row.first_mut() {
            *first = previous;
        }
        for (to, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            let replaced = diagonal + usize::from(from != *to);
            previous = replaced.min(above + 1).min(previous + 1);
            *cell = previous;
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("COPPY", ["ADD", "COPY", "CMD"]), Some("COPY"));
        assert_eq!(nearest("chwon", ["chown", "chmod"]), Some("chown"));
        assert_eq!(nearest("frobnicate", ["chown", "chmod"]), None);
        assert_eq!(nearest("copy", ["COPY"]), None);
        assert_eq!(nearest("", ["ab"]), Some("ab"));
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("flaw", "lawn"), 2);
    }
}
