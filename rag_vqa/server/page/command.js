// The question as a line for a POSIX shell. Knows quoting; touches no page.

// A word that every shell takes as it is. Control characters, a line's end among them, could run
// something when they are pasted into a terminal: they become spaces.
export function quoted(text) {
  const line = text.replace(/\p{Cc}+/gu, " ").trim();
  return /^[\w@%+=:,./-]+$/.test(line) ? line : `'${line.replaceAll("'", `'\\''`)}'`;
}

// `program`: the beginning as the server names it, "rag-vqa ask KB".
export function commandLine(program, text, pictureName) {
  const parts = [program];
  if (pictureName) parts.push("--image", quoted(pictureName.replace(/^-/, "./-")));
  parts.push(text.trim().startsWith("-") ? `-- ${quoted(text)}` : quoted(text));
  return parts.join(" ");
}
