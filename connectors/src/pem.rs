//! Keys and certificates in PEM, as a form hands them in: on one line, with blanks where lines ended or
//! with nothing there.

/// The same with its lines; none if it is no PEM.
pub(crate) fn lines(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.starts_with("-----BEGIN ") {
        return None;
    }
    let parts = text.split("-----").map(str::trim).filter(|part| !part.is_empty());
    let lines = parts.map(|part| {
        if part.starts_with("BEGIN ") || part.starts_with("END ") {
            format!("-----{part}-----\n")
        } else {
            part.split_whitespace().flat_map(|line| [line, "\n"]).collect()
        }
    });
    Some(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_certificate_is_read_from_one_line_too() {
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\nAQAB\n-----END CERTIFICATE-----\n";
        assert_eq!(lines(pem).as_deref(), Some(pem));
        assert_eq!(lines(&pem.replace('\n', " ")).as_deref(), Some(pem));
        assert!(lines(&pem.replace('\n', "")).is_some_and(|text| text.contains("-----\nMIIBAQAB\n-----")));
        assert_eq!(lines("hunter2"), None);
        assert_eq!(lines(" "), None);
    }
}
