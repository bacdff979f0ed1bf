// Sets the theme that the user chose before the page is painted; a module would run too late.
document.documentElement.dataset.theme = localStorage.getItem("retake.theme") ?? "";
