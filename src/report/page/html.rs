//! The page as one HTML file: no script, nothing to load, light and dark as the reader's system is.
//!
//! It is well-formed XML too, so that any parser can check it.

use super::{Block, NARROW, Page, Table, WIDE, escaped};

impl Page {
    /// The page as one self-contained file.
    pub(crate) fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut body = format!("<header><h1>{title}</h1><p>{}</p></header>\n", escaped(&self.lead));
        if !self.highlights.is_empty() {
            let card = |(figure, what): &(String, String)| {
                format!("<div><strong>{}</strong><span>{}</span></div>", escaped(figure), escaped(what))
            };
            let cards: String = self.highlights.iter().map(card).collect();
            body += &format!("<div class=\"cards\">{cards}</div>\n");
        }
        for section in &self.sections {
            body += &format!("<section><h2>{}</h2>", escaped(&section.title));
            if !section.text.is_empty() {
                body += &format!("<p>{}</p>", escaped(&section.text));
            }
            if !section.terms.is_empty() {
                let term = |(term, meaning): &(String, String)| {
                    format!("<li><b>{}</b> {}</li>", escaped(term), escaped(meaning))
                };
                let terms: String = section.terms.iter().map(term).collect();
                body += &format!("<ul>{terms}</ul>");
            }
            body += "<div class=\"blocks\">";
            section.blocks.iter().for_each(|block| body += &block.html());
            body += "</div></section>\n";
        }
        let fact = |(name, value): &(String, String)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value))
        };
        let facts: String = self.facts.iter().map(fact).collect();
        body += &format!("<footer><h2>Where and when</h2><dl>{facts}</dl></footer>\n");
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
        )
    }
}

impl Block {
    fn html(&self) -> String {
        let figure = |title: &str, note: &str, svg: [String; 2]| {
            let note = if note.is_empty() { String::new() } else { format!("<p>{}</p>", escaped(note)) };
            let [wide, narrow] = svg;
            format!(
                "<figure><figcaption><h3>{}</h3>{note}</figcaption>{wide}{narrow}</figure>",
                escaped(title)
            )
        };
        match self {
            Block::Bars(bars) => {
                figure(&bars.title, &bars.note, [bars.svg(WIDE, "wide"), bars.svg(NARROW, "narrow")])
            }
            Block::Lines(lines) => {
                figure(&lines.title, &lines.note, [lines.svg(WIDE, "wide"), lines.svg(NARROW, "narrow")])
            }
            Block::Table(table) => table.html(),
        }
    }
}

impl Table {
    fn html(&self) -> String {
        let cells = |tag: &str, row: &[String]| {
            let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
            format!("<tr>{cells}</tr>")
        };
        let rows: String = self.rows.iter().map(|row| cells("td", row)).collect();
        let head = cells("th", &self.head);
        format!("<div class=\"table\"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>")
    }
}

/// Colours are chosen to differ in brightness as well, and to stand out from both grounds.
const STYLE: &str = r#"
:root{--ground:#fbfbfa;--card:#fff;--ink:#1d2128;--soft:#5b6472;--line:#e3e5e8;--base:#9aa2ad;
--t0:#8b93a0;--t1:#c2410c;--t2:#b45f9b;--t3:#15803d;--t4:#2563eb;--t5:#0e7490;--t6:#a16207;--t7:#7c3aed}
@media (prefers-color-scheme:dark){:root{--ground:#14171c;--card:#1b1f26;--ink:#e8eaee;--soft:#a3acb9;--line:#2d333d;--base:#6b7482;
--t0:#8e97a5;--t1:#fb8a4b;--t2:#e39acb;--t3:#4cc274;--t4:#6ea1ff;--t5:#45c1d8;--t6:#d9b34a;--t7:#b394ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1240px;margin:0 auto;padding:28px 16px 48px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px}
h2{font-size:20px;margin:44px 0 6px}
h3{font-size:15px;margin:0}
p{margin:0 0 12px;max-width:76ch;color:var(--soft)}
ul{margin:0 0 16px;padding:0;list-style:none;display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:6px 24px;font-size:14px;color:var(--soft)}
li b{color:var(--ink);font-weight:600;display:block}
figcaption p{font-size:14px;margin:2px 0 8px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:20px 0 0}
.cards div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.cards strong{display:block;font-size:24px;line-height:1.2;font-variant-numeric:tabular-nums}
.cards span{font-size:13px;color:var(--soft)}
.blocks{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px;align-items:start}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 14px 8px;min-width:0}
svg{display:block;width:100%;height:auto;max-width:640px}
svg.narrow{display:none}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--ink)}
svg .tick,svg .axis,svg .none{fill:var(--soft)}
svg .none{font-style:italic}
svg .head{font-weight:600}
svg .value{font-variant-numeric:tabular-nums}
.grid{stroke:var(--line);stroke-width:1}
.base{stroke:var(--base);stroke-width:1}
.t0{fill:var(--t0)}.t1{fill:var(--t1)}.t2{fill:var(--t2)}.t3{fill:var(--t3)}.t4{fill:var(--t4)}.t5{fill:var(--t5)}.t6{fill:var(--t6)}.t7{fill:var(--t7)}
svg [class^="s"]{fill:none;stroke-width:2;stroke-linejoin:round}
.s0{stroke:var(--t0)}.s1{stroke:var(--t1)}.s2{stroke:var(--t2)}.s3{stroke:var(--t3)}.s4{stroke:var(--t4)}.s5{stroke:var(--t5)}.s6{stroke:var(--t6)}.s7{stroke:var(--t7)}
.d1{stroke-dasharray:7 3}.d2{stroke-dasharray:2 3}.d3{stroke-dasharray:8 3 2 3}
.table{grid-column:1/-1;overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px;min-width:0}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:7px 12px;text-align:right;border-top:1px solid var(--line);white-space:nowrap}
th{border-top:0;color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:8px 20px;margin:8px 0 0;font-size:14px}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
@media (max-width:1000px){.blocks{grid-template-columns:minmax(0,1fr)}}
@media (max-width:560px){main{padding:20px 12px 36px}figure{padding:12px 10px 6px}svg.wide{display:none}svg.narrow{display:block}h1{font-size:24px}}
"#;
