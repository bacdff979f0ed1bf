// Before the page is painted: the theme that its user chose, if they did. No module: those run late.
document.documentElement.dataset.theme = localStorage.getItem("retake.theme") ?? "";
