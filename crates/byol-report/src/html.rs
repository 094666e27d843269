//! Text and data inside HTML.

use serde_json::Value;

/// `text` as it may stand between tags and in quoted attributes. Control characters, which HTML forbids, become `�`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            _ if character.is_control() => escaped.push('\u{FFFD}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A whole page: `body` and `script` are what they are, `title` is text.
pub(super) fn document(title: &str, body: &str, script: &str) -> String {
    let script = if script.is_empty() { String::new() } else { format!("<script>\n{script}</script>\n") };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{}</style></head>\n<body>\n<main>\n{body}\
         <footer>Written by byol {}. One file, nothing is loaded from elsewhere.</footer>\n</main>\n{script}</body></html>\n",
        escape(title),
        include_str!("style.css"),
        env!("CARGO_PKG_VERSION"),
    )
}

/// A JSON block that the page's script reads. `<` is written as an escape of JSON, so that no text can end the block.
pub(super) fn data_block(id: &str, value: &Value) -> String {
    let json = value.to_string().replace('<', "\\u003c");
    format!("<script type=\"application/json\" id=\"{}\">{json}</script>\n", escape(id))
}

/// A table in a box that scrolls sideways where the screen is narrow. Cells are HTML, with their tags.
pub(super) fn table(class: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let row = |cells: &[String]| format!("<tr>{}</tr>\n", cells.concat());
    let body: String = rows.iter().map(|cells| row(cells)).collect();
    let head = if head.is_empty() { String::new() } else { format!("<thead>{}</thead>\n", row(head)) };
    format!("<div class=\"scroll\"><table class=\"{class}\">\n{head}<tbody>\n{body}</tbody></table></div>\n")
}

/// A cell of a head.
pub(super) fn head_cell(text: &str) -> String {
    format!("<th scope=\"col\">{}</th>", escape(text))
}

/// The first cell of a row.
pub(super) fn row_head(text: &str) -> String {
    format!("<th scope=\"row\">{}</th>", escape(text))
}

/// A cell of text.
pub(super) fn cell(text: &str) -> String {
    format!("<td>{}</td>", escape(text))
}

/// What is folded away until someone asks for it; `body` is HTML.
pub(super) fn folded(summary: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>\n{body}</details>\n", escape(summary))
}

/// A paragraph that says why something is missing, or how it came about.
pub(super) fn note(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<b> \"a\" & 'c'\u{0}"), "&lt;b&gt; &quot;a&quot; &amp; &#39;c&#39;\u{FFFD}");
        assert_eq!(cell("<b>"), "<td>&lt;b&gt;</td>");
    }

    #[test]
    fn a_data_block_cannot_be_ended_by_its_text() {
        let hostile = serde_json::json!({"name": "</script><script>alert(1)</script>"});
        let block = data_block("x", &hostile);
        assert_eq!(block.matches("</script>").count(), 1, "{block}");
        let json = block.split_once('>').unwrap().1.rsplit_once("</script>").unwrap().0;
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), hostile);
    }
}
