//! What a site asks of crawlers in its `robots.txt`, read simply: `Allow` and `Disallow` by prefix, the longest one decides.

/// The rules for one crawler.
#[derive(Default)]
pub(crate) struct Rules(Vec<(String, bool)>);

impl Rules {
    /// The rules of the groups that name `agent`; if none does, of those for `*`.
    pub(crate) fn parse(text: &str, agent: &str) -> Rules {
        let (mut named, mut general) = (Vec::new(), Vec::new());
        let (mut for_us, mut for_all, mut in_rules, mut is_named) = (false, false, false, false);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((field, value)) = line.split_once(':') else { continue };
            let (field, value) = (field.trim().to_ascii_lowercase(), value.trim());
            match &*field {
                "user-agent" => {
                    if in_rules {
                        (for_us, for_all, in_rules) = (false, false, false);
                    }
                    for_all |= value == "*";
                    for_us |= value.eq_ignore_ascii_case(agent);
                    is_named |= for_us;
                }
                "allow" | "disallow" => {
                    in_rules = true;
                    let allowed = field == "allow";
                    // A pattern forbids all that begins like it, and allows nothing: rather too few pages than too many.
                    let prefix = match value.split_once(['*', '$']) {
                        Some(_) if allowed => continue,
                        Some((prefix, _)) => prefix,
                        None => value,
                    };
                    // `Disallow:` alone forbids nothing.
                    for (applies, rules) in [(for_us, &mut named), (for_all, &mut general)] {
                        if applies && !value.is_empty() {
                            rules.push((prefix.to_owned(), allowed));
                        }
                    }
                }
                _ => {}
            }
        }
        Rules(if is_named { named } else { general })
    }

    /// Whether the path may be asked for.
    pub(crate) fn allow(&self, path: &str) -> bool {
        let matching = self.0.iter().filter(|(prefix, _)| path.starts_with(&**prefix));
        matching.max_by_key(|(prefix, allowed)| (prefix.len(), *allowed)).is_none_or(|&(_, allowed)| allowed)
    }
}
