# podfence_room(NAME DEPENDENCY…): the library podfence_NAME of all sources in agent/NAME. A room that has no
# sources yet is an interface library, so that the others can be built without it.
function(podfence_room name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/agent/${name}/*.cpp)
  if(sources)
    add_library(podfence_${name} STATIC ${sources})
    target_include_directories(podfence_${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(podfence_${name} PUBLIC ${ARGN})
  else()
    add_library(podfence_${name} INTERFACE)
    target_link_libraries(podfence_${name} INTERFACE ${ARGN})
  endif()
endfunction()

# podfence_test(NAME DEPENDENCY…): the GoogleTest program unit_NAME of all sources in tests/unit/NAME, each test a
# ctest test of its own label "unit".
function(podfence_test name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(unit_${name} ${sources})
  target_include_directories(unit_${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(unit_${name} PRIVATE PODFENCE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(unit_${name} PRIVATE ${ARGN} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME unit_${name} COMMAND unit_${name})
  set_tests_properties(unit_${name} PROPERTIES LABELS unit)
endfunction()
