-- Written by make settings: what the server has, too.
return {
  MAX_AHEAD = 16,
  MAX_PLACES = 20,
  MAX_NAMES = 5000,
  MAX_WHOLE = 49,
  MAX_KEYWORDS = 5,
  MAX_SIGNATURES = 40,
}
