use super::Director;

#[test]
fn directors_are_addresses_and_networks() {
    // {as written, as shown, length of the key's prefix}
    for (text, expected) in [
        ("10.0.0.1", Some(("10.0.0.1", 128))),
        ("10.0.0.1/32", Some(("10.0.0.1", 128))),
        ("10.0.0.0/24", Some(("10.0.0.0/24", 120))),
        ("10.0.0.0/1", Some(("10.0.0.0/1", 97))),
        ("2001:db8::1", Some(("2001:db8::1", 128))),
        ("2001:db8::/32", Some(("2001:db8::/32", 32))),
        ("10.0.0.0/33", None),
        ("10.0.0.0/0", None),
        ("2001:db8::/129", None),
        ("::", None),
        ("0.0.0.0", None),
        ("10.0.0.1/", None),
        ("10.0.0.1/-1", None),
        ("/24", None),
        ("director", None),
        ("", None),
    ] {
        let parsed = text.parse::<Director>().ok();
        let shown = parsed.map(|director| (director.to_string(), director.key().prefix_len()));
        let expected = expected.map(|(shown, length)| (shown.to_owned(), length));
        assert_eq!(shown, expected, "{text:?}");
        if let Some(director) = parsed {
            let again = Director::of(director.key());
            assert_eq!(again, director, "{text:?}: from its key");
        }
    }
}
