// Draws pictures on canvases. The policy allows only the server's own files, hence no blob: or data:
// address; an <img> could not send the token; and a canvas can show the patches of a match. Knows
// pixels, not where pictures come from or belong.

import { element } from "./dom.js";

const SHARP = 2; // pixels of a canvas for one of the page, at most

// A canvas of `blob`, at most `side` wide and high. Rejects what the browser cannot decode.
export async function drawPicture(blob, side, name) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, (side * Math.min(SHARP, devicePixelRatio)) / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas", { role: "img", "aria-label": name });
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

// A copy of a drawn picture under a veil, which is thinner over patches of more weight.
// `patches`: [{box: [left, top, right, bottom] in 0..1, weight in 0..1}].
export function veilPatches(picture, patches) {
  const canvas = element("canvas", { role: "img", "aria-label": picture.getAttribute("aria-label") });
  const { width, height } = Object.assign(canvas, { width: picture.width, height: picture.height });
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  pen.fillStyle = "rgb(10 16 24 / 72%)";
  pen.fillRect(0, 0, width, height);
  const most = Math.max(...patches.map((patch) => patch.weight), 0);
  for (const { box, weight } of patches) {
    const [x, right] = [box[0], box[2]].map((place) => Math.round(place * width));
    const [y, bottom] = [box[1], box[3]].map((place) => Math.round(place * height));
    const [w, h] = [right - x, bottom - y];
    if (!(most > 0 && w > 0 && h > 0)) continue;
    pen.globalAlpha = Math.min(1, weight / most);
    pen.drawImage(picture, x, y, w, h, x, y, w, h);
  }
  pen.globalAlpha = 1;
  return canvas;
}

export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
