// Sets colours and language before the page is drawn, so that nothing flashes. No module: those wait for the page.
(() => {
  const root = document.documentElement;
  let theme = null,
    language = null;
  try {
    theme = localStorage.getItem("fdetect.theme");
    language = localStorage.getItem("fdetect.language");
  } catch {
    /* storage may be forbidden; then the browser's own wishes hold */
  }
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  root.lang = language || ((navigator.language || "").toLowerCase().startsWith("ja") ? "ja" : "en");
})();
