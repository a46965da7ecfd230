" A map of Tab as plugins have it: by a function of the script's own.
function s:tab()
  return 'SCRIPT'
endfunction
inoremap <expr> <Tab> <SID>tab()
