// App: one state, one redraw; the fragment follows the state.

const missed = [];
let app = location.hash.length > 1 ? stateFrom(location.hash, missed) : firstState();
let shownView = null;
let frame = 0;
const after = { address: 0, sentence: 0 };
let written = location.hash;

const sizes = new Map();
const SMALLEST = 120; // pixels; below, there is no room for a figure, as in a window that is not laid out yet

/** How large the figures may be; asked for only when that changes, since asking makes the browser lay out the page. */
function measure() {
  for (const id of Object.keys(FIGURES)) {
    const figure = document.getElementById(id);
    sizes.set(id, [Math.floor(figure.clientWidth), Math.floor(figure.clientHeight)]);
  }
}

/** Draws everything from the state. */
function render() {
  frame = 0;
  const view = viewOf(app);
  flowsOf(app, view);
  fillTable(view);
  fillNumbers(view);
  colourCards(view);
  for (const [id, figureOf] of Object.entries(FIGURES)) {
    const [width, height] = sizes.get(id);
    if (Math.min(width, height) < SMALLEST) continue;
    document.getElementById(id).innerHTML = drawing(width, height, figureOf(view, width, height, app));
  }
  describeFigures(view);
  shownView = view;
  later("sentence", 700, () => (document.getElementById("sentence").textContent = sentences(view)));
  later("address", 250, writeAddress);
  document.documentElement.dataset.firstFigure ??= String(performance.now());
}

/** Once in a while, however often the state changes. */
function later(what, wait, run) {
  clearTimeout(after[what]);
  after[what] = setTimeout(run, wait);
}

function writeAddress() {
  written = `#${fragmentOf(app)}`;
  history.replaceState(null, "", written);
}

/** The state has changed: draw in the next frame, once. */
function changed() {
  if (!frame) frame = requestAnimationFrame(render);
}

/** The chosen losses have changed. */
function rebuild() {
  document.getElementById("figures").dataset.losses = app.chosen.length;
  fillChosen(app, changed, rebuild);
  update.picker();
  update.sliders();
  changed();
}

/** Theme or size of type have changed. */
function dressed() {
  const root = document.documentElement;
  root.dataset.theme = isDark(app) ? "dark" : "light";
  root.classList.toggle("lecture", app.lecture);
  update.choices();
  readInks();
  changed();
}

/** Goes to the state that a fragment says. */
function restore(fragment) {
  const { theme, lecture } = app;
  const said = (key) => new RegExp(`(^|[#&])${key}=`).test(fragment);
  missed.length = 0;
  app = stateFrom(fragment, missed);
  tellMissed();
  if (!said("theme")) app.theme = theme;
  if (!said("lecture")) app.lecture = lecture;
  rebuild();
  dressed();
}

/** What a link asks for and the page has not; the address is rewritten, so it is said. */
function tellMissed() {
  const note = document.getElementById("missed");
  const words = missed.slice(0, 4).map((one) => (one.length > 80 ? `${one.slice(0, 79)}…` : one));
  if (missed.length > words.length) words.push(`and ${missed.length - words.length} more`);
  note.hidden = !words.length;
  note.textContent = words.length ? `Not as the link says: ${words.join("; ")}.` : "";
}

const current = () => app;
const update = {
  sliders: addTokenSliders(current, changed),
  picker: addPicker(current, rebuild),
  choices: addChoices(current, changed, dressed),
};
addScenes(restore);
addHelp();
addFigureTools();
document.getElementById("other-token").textContent = `“${DATA.tokens[1]}”`;
document.getElementById("completion").replaceChildren(`${DATA.sentence} `, element("strong", { text: DATA.tokens[0] }));
document.getElementById("key-bars").replaceChildren(
  ...[
    ["p", "p"],
    ["q", "Q"],
    ["negative", "Q < 0"],
    ["residual", "residual"],
  ].map(([kind, text]) => element("span", {}, element("i", { class: `box ${kind}`, "aria-hidden": "true" }), text)),
);
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("copy-link").addEventListener("click", () => {
  writeAddress();
  copyText(location.href, "Link");
});
document.getElementById("copy-python").addEventListener("click", () => copyText(pythonOf(app, shownView), "Python"));
addEventListener("hashchange", () => {
  if (location.hash !== written) restore(location.hash);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dressed);
const resized = new ResizeObserver(() => {
  measure();
  changed();
});
tellMissed();
rebuild();
dressed();
measure();
for (const id of Object.keys(FIGURES)) resized.observe(document.getElementById(id));
