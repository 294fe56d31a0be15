// Style: colours of the theme, and a colour and a mark for each loss.

const MARKS = ["circle", "square", "diamond", "triangle"];
const SHADES = [0, 0.42, 0.24, 0.6]; // losses of one category: how far towards the ink
const FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";

const isDark = (app) =>
  app.theme === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : app.theme === "dark";

let inks = null;

/** The theme's colours and the size of type, read from the style sheet when these change. */
function readInks() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "line", "panel", "model"];
  inks = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  inks.font = parseFloat(style.fontSize) * 0.8;
  inks.wide = parseFloat(style.fontSize) / 16;
}

/** A colour on the way to another. */
function mixed(from, to, share) {
  const channel = (hex, place) => parseInt(hex.slice(place, place + 2), 16);
  const parts = [1, 3, 5].map((place) => Math.round((1 - share) * channel(from, place) + share * channel(to, place)));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Gives every loss its category's colour, in a shade and with a mark of its own where others share the category. */
function styled(losses, app) {
  const colours = DATA.palette[isDark(app) ? "dark" : "light"];
  const seen = {};
  for (const one of losses) {
    const { category } = one.loss;
    const place = (seen[category] = (seen[category] ?? -1) + 1);
    const { line, text } = colours[category] ?? colours[""];
    one.colour = mixed(line, inks.ink, SHADES[place]);
    one.textColour = mixed(text, inks.ink, SHADES[place]);
    one.mark = MARKS[place];
  }
}
