//! `Link` headers (RFC 8288), of which registries use one relation: `next`.

/// The target of the first link with relation `next`.
pub(crate) fn next_target(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        rest = rest.get(rest.find('<')? + 1..)?;
        let (target, behind) = rest.split_once('>')?;
        let end = end_of_parameters(behind);
        let (parameters, following) = behind.split_at(end);
        if parameters.split(';').any(is_next) {
            return Some(target.trim());
        }
        rest = following;
    }
}

/// Where the parameters of one link end: at a comma outside quotes.
fn end_of_parameters(text: &str) -> usize {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn is_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rel")
            && value
                .trim()
                .trim_matches('"')
                .split_ascii_whitespace()
                .any(|rel| rel.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        for (header, target) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b")),
            ("</x>; rel=next", Some("/x")),
            ("</p>; rel=\"previous\", </n>; title=\"a,b\"; REL=\"last next\"", Some("/n")),
            ("</a,b;c>; rel=next", Some("/a,b;c")),
            ("</p>; rel=previous", None),
            ("</p>; title=\"rel=next\"", None),
            ("", None),
            ("<", None),
        ] {
            assert_eq!(next_target(header), target, "{header}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[<>;,=\" a-zé]{0,40}") {
            let _ = next_target(&text);
        }

        #[test]
        fn what_is_written_is_read(target in "/[a-z0-9?&=%,;]{0,30}") {
            let header = format!("</other>; rel=\"previous\", <{target}>; rel=\"next\"");
            prop_assert_eq!(next_target(&header), Some(target.as_str()));
        }
    }
}
