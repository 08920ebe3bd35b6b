// Elements out of names and texts. Whatever comes from documents, files and answers gets onto the
// page here, as text and never as markup. It knows the DOM; it does not know what is shown.

export const find = (id) => document.getElementById(id);

// A new element: `listeners` by event, the rest of `attributes` as they are named in HTML; false
// and null leave one out. Children are elements or texts.
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

// Text of others, whose writing direction must not spill over into ours.
export const others = (text, attributes = {}) => element("bdi", attributes, String(text ?? ""));

// Addresses in documents are followed by a click alone, and only those of the web.
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
  return element("a", opens, others(text), element("span", { class: "unseen" }, " (opens a new tab)"));
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

// For screen readers: said once, as soon as they have finished what they are saying.
export function announce(text) {
  find("live").textContent = text;
}
