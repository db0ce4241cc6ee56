"use strict";
const find = (id) => document.getElementById(id);
const root = document.documentElement;

// light or dark: as the system says, until the button is pressed
const theme = find("theme");
const isDark = () =>
  (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.hidden = false;
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
nameTheme();

// the gallery: one instance at a time; without this script all stand below one another
if (find("gallery")) {
  const articles = [...document.querySelectorAll("article")];
  const thumbs = [...find("thumbs").children];
  const buttons = [...find("filters").querySelectorAll("button")];
  let filter = buttons.length > 1 && articles.some((a) => a.dataset.kind !== "right") ? "wrong" : "right";
  let shown = null;

  const fits = (element) =>
    filter === "wrong" ? element.dataset.kind !== "right" : element.dataset.kind === filter;

  function show(article, intoHash) {
    shown = article;
    for (const each of articles) each.hidden = each !== article;
    const among = articles.filter(fits);
    for (const [i, thumb] of thumbs.entries()) {
      thumb.hidden = !fits(thumb);
      const link = thumb.firstElementChild;
      if (articles[i] === article) {
        link.setAttribute("aria-current", "true");
        const list = find("thumbs");  // scrolls the list alone, not the page
        list.scrollTop = thumb.offsetTop - list.offsetTop - 60;
      } else link.removeAttribute("aria-current");
    }
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
    find("position").textContent = article ? `${among.indexOf(article) + 1} of ${among.length}` : "none";
    if (article && intoHash) history.replaceState(null, "", `#${article.id}`);
  }

  function step(by) {
    const among = articles.filter(fits);
    if (among.length) show(among[(among.indexOf(shown) + by + among.length) % among.length], true);
  }

  function fromHash() {
    const article = articles.find((each) => `#${each.id}` === location.hash);
    if (!article) return false;
    if (!fits(article)) filter = article.dataset.kind;
    show(article, false);
    return true;
  }

  for (const [i, article] of articles.entries()) {
    const picture = article.querySelector("img");
    if (!picture) continue;
    const small = new Image();
    small.src = picture.src;
    small.alt = "";
    thumbs[i].firstElementChild.replaceChildren(small);
  }
  for (const chooser of document.querySelectorAll("[data-filter]"))
    chooser.addEventListener("click", () => {
      filter = chooser.dataset.filter;
      show(articles.find(fits) || null, chooser.localName === "button");
    });
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  addEventListener("hashchange", fromHash);
  const marks = find("marks");  // missing where no picture has any
  function toggleMarks() {
    const off = root.dataset.marks !== "off";
    root.dataset.marks = off ? "off" : "on";
    marks.setAttribute("aria-pressed", String(!off));
  }
  if (marks) marks.addEventListener("click", toggleMarks);
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "m" && marks) toggleMarks();
  });
  find("filters").hidden = find("steps").hidden = false;
  if (!fromHash()) show(articles.find(fits) || null, false);
}
