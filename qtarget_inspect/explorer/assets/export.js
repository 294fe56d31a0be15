// Export: what leaves the page: the link, the Python, a figure.

/** Says something for a moment, and to a screen reader. */
function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (place.textContent = ""), 4000);
}

/** Text to the clipboard; where the browser does not allow it (a file on disk, often), in a window to copy from. */
async function copyText(text, title) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${title} copied`);
  } catch {
    const dialog = document.getElementById("text-dialog");
    document.getElementById("text-title").textContent = `${title}: press Ctrl+C to copy`;
    const area = document.getElementById("text-area");
    area.value = text;
    dialog.showModal();
    area.focus();
    area.select();
  }
}

/** Hands a file to the reader. */
function download(url, name) {
  element("a", { href: url, download: name }).click();
}

const exportName = (id, suffix) => `explorer-${id}.${suffix}`;

/** A figure as a picture of SVG, an address that holds it all. */
function svgAddress(id) {
  const text = new XMLSerializer().serializeToString(document.querySelector(`#${id} svg`));
  return `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
}

const SHARP = 3; // pixels of the PNG for one of the screen

/** A figure as PNG. */
async function pngOf(id) {
  const picture = new Image();
  picture.src = svgAddress(id);
  await picture.decode();
  const canvas = element("canvas", { width: SHARP * picture.width, height: SHARP * picture.height });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** A figure as PNG to the clipboard, else as a download. */
async function copyFigure(id) {
  const png = await pngOf(id);
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
    toast("Figure copied as PNG");
  } catch {
    const url = URL.createObjectURL(png);
    download(url, exportName(id, "png"));
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    toast("This browser does not let the page copy pictures: downloaded as PNG instead");
  }
}

/** A figure as an SVG file. */
function saveFigure(id) {
  download(svgAddress(id), exportName(id, "svg"));
  toast("Figure saved as SVG");
}

/** Buttons beside every figure's title. */
function addFigureTools() {
  for (const place of document.querySelectorAll(".tools")) {
    const id = place.dataset.figure;
    const title = place.parentElement.querySelector("h2").textContent.trim();
    const copy = element("button", { type: "button", text: "Copy", "aria-label": `Copy figure as PNG: ${title}` });
    const save = element("button", { type: "button", text: "SVG", "aria-label": `Save figure as SVG: ${title}` });
    copy.addEventListener("click", () => copyFigure(id));
    save.addEventListener("click", () => saveFigure(id));
    place.append(copy, save);
  }
}
