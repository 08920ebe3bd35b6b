// Creates elements. All text from documents, files and answers gets onto the page here, as text and
// never as markup. Knows the DOM; does not know what is shown.

export const find = (id) => document.getElementById(id);

// A new element. `listeners` are by event; other `attributes` are named as in HTML, and false or null
// leaves one out. Children are elements or texts.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  const { listeners = {}, ...named } = attributes;
  for (const [name, value] of Object.entries(named)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(listeners)) made.addEventListener(event, listener);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// Text from outside, whose writing direction must not affect the text around it.
export const untrustedText = (text, attributes = {}) => element("bdi", attributes, String(text ?? ""));

// The web address in a text; null for other schemes. Addresses in documents are only opened by a
// click.
export function webAddress(text) {
  try {
    const address = new URL(String(text));
    return ["http:", "https:"].includes(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

export function outwardLink(address, text) {
  const opens = { href: address.href, target: "_blank", rel: "noopener noreferrer nofollow" };
  return element("a", opens, untrustedText(text), element("span", { class: "unseen" }, " (opens a new tab)"));
}

// A button and the panel that it opens; `fill(panel)` is called at the first opening.
export function disclosure(label, fill, attributes = {}) {
  const panel = element("div", { class: "panel", id: `panel-${++made}`, hidden: true });
  const toggle = () => {
    panel.hidden = !panel.hidden;
    button.setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden && panel.childElementCount === 0) fill(panel);
  };
  const button = element(
    "button",
    { type: "button", "aria-expanded": "false", "aria-controls": panel.id, ...attributes,
      listeners: { click: toggle } },
    label,
  );
  return { button, panel };
}
let made = 0;

// Lets screen readers say a text, once they have finished the current one.
export function announce(text) {
  find("live").textContent = text;
}
