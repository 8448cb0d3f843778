//! One line of comma-separated values, as `--mount` and `--device` take it.

/// The fields of a line. A field in double quotes may hold commas, and `""` for a quote; `None` when a quote stands
/// anywhere else or is not closed.
pub(super) fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut characters = line.chars().peekable();
    loop {
        let mut field = String::new();
        if characters.next_if_eq(&'"').is_some() {
            loop {
                match characters.next()? {
                    '"' if characters.next_if_eq(&'"').is_some() => field.push('"'),
                    '"' => break,
                    other => field.push(other),
                }
            }
        } else {
            while let Some(character) = characters.next_if(|character| *character != ',') {
                if character == '"' {
                    return None;
                }
                field.push(character);
            }
        }
        fields.push(field);
        match characters.next() {
            None => return Some(fields),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quotes_group_and_double() {
        let owned =
            |fields: &[&str]| Some(fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>());
        assert_eq!(fields("type=bind,source=a"), owned(&["type=bind", "source=a"]));
        assert_eq!(fields("\"a,b\",\"c\"\"d\","), owned(&["a,b", "c\"d", ""]));
        assert_eq!(fields(""), owned(&[""]));
        assert_eq!(fields("a\"b"), None);
        assert_eq!(fields("\"a"), None);
        assert_eq!(fields("\"a\"b"), None);
    }
}
