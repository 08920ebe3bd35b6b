// The dialog that asks for the server's token. Knows the dialog; api.js keeps the token.

import { find } from "./dom.js";

let open = null; // several requests may need it at once: one dialog

// → the token, or null if the person leaves the dialog.
export function askForToken(wrong) {
  open ??= ask(wrong).finally(() => {
    open = null;
  });
  return open;
}

function ask(wrong) {
  const dialog = find("token");
  const field = find("token-text");
  find("token-problem").textContent = wrong ? "This token is wrong." : "";
  field.value = "";
  dialog.returnValue = "leave"; // as Escape means it
  dialog.showModal();
  return new Promise((resolve) => {
    const close = () => {
      // A header can hold no other characters, and no token contains them.
      const entered = field.value.replace(/[^\x21-\x7e]/g, "");
      field.value = "";
      resolve(dialog.returnValue === "use" && entered ? entered : null);
    };
    dialog.addEventListener("close", close, { once: true });
  });
}
