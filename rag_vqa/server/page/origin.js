// Shows what is known of a document beside its text: chosen metadata, its page, licence and link.
// Knows hits; does not know which metadata was chosen, nor the cards.

import { element, outwardLink, untrustedText, webAddress } from "./dom.js";

const CREDITS = ["license", "licence", "credit", "author", "source"];

// The metadata that the reader saw as well: [{name, value}].
export function facts({ shown }) {
  const pairs = (shown ?? []).map(({ name, value }) =>
    element("div", {}, element("dt", {}, untrustedText(name)), element("dd", {}, linked(value))),
  );
  return pairs.length ? element("dl", { class: "facts" }, ...pairs) : null;
}

// The page of a file: a link only if the document has an address of the web.
export function citation({ url, metadata }) {
  const { page, file } = metadata ?? {};
  if (!Number.isInteger(page)) return null;
  const address = webAddress(url);
  const cited = address ? outwardLink(address, `page ${page}`) : `page ${page}`;
  const name = file ?? (address ? address.host : url);
  return element("p", { class: "credit soft" }, cited, ...(name ? [" of ", untrustedText(name)] : []));
}

// Licence, credit and link, as far as they do not stand above.
export function credits({ document: source, shown }) {
  const above = new Set((shown ?? []).map(({ name }) => name));
  const metadata = Object.entries(source.metadata ?? {}).filter(([name]) => !above.has(name));
  const line = element("p", { class: "credit soft" });
  const add = (...parts) => line.append(...(line.childNodes.length ? [" · "] : []), ...parts);
  const values = CREDITS.flatMap((wanted) => metadata.filter(([name]) => name.toLowerCase() === wanted));
  for (const value of values.flatMap(([, value]) => value)) {
    if (value !== null && value !== undefined && value !== "") add(linked(value));
  }
  const address = Number.isInteger(source.metadata?.page) ? null : webAddress(source.url);
  if (address) add(outwardLink(address, address.host));
  return line;
}

function linked(value) {
  const address = webAddress(value);
  return address ? outwardLink(address, address.host) : untrustedText(value);
}
