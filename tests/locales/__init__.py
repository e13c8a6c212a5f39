"""The pack's words in other languages: tables of English to each, and the command that makes locales/ of them."""
